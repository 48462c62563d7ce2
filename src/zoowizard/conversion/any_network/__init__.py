"""What the conversions of networks of any kind share: what is found out, described, exported and compared."""
