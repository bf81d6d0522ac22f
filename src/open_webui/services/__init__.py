"""What has decisions to make, one file per resource."""
