"""What every part of the control plane stands on: database, audit, outbox, errors, time, ids."""
