"""The demo: the main job on the example organization, shown live, every figure read back.

`make demo` runs it; the end-to-end test runs the same code and reads its result file.
"""
