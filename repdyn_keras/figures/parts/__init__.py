"""What pictures are made of: pages, ticks, cells, region maps, colours and files."""
