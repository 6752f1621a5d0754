"""Floor 0: what every room stands on; no algorithm of the field lives here."""
