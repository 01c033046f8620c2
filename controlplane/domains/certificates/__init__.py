"""Install certificates: the signed record at the end of a run."""
