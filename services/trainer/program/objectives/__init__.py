"""What a step minimises, one file for each way, chosen by the name of the method."""
