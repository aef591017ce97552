"""Building blocks of the figures: pages, ticks, cells, region maps, colours and GIF files."""
