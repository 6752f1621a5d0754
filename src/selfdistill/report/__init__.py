"""What a run found, as a page to send: one HTML file, and a sheet of the most doubtful photos."""
