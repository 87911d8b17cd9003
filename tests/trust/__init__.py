"""What the lab promises of safety, counted: `./run trust` runs every check at full length, the suite a short form."""
