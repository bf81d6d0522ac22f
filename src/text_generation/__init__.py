"""Import names of the documented API; everything is in `consciousness`."""
