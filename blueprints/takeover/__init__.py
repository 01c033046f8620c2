"""What lies in every take-over kit beside the programs: the script, its way in, the runbook.

Copied into a kit as text by the control plane, run by the customer from there. Separate from the
blueprints, which the script imports by reference as the control plane's engine does.
"""
