"""What a run showed, gathered from the ledger and written down as one page with pictures."""
