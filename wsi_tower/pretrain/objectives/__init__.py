"""What a method compares: one file each."""
