"""What the fields of a topology file are made of: types, sentences, faults, AWS's numbers."""
