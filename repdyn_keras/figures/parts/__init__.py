"""Building blocks of the figures: pages, epochs, cells, region maps, names and colours."""
