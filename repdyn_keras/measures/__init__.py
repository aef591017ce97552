"""Mathematics on arrays. NumPy throughout; `device` holds what runs through `keras.ops`."""
