"""Moving in: what another server holds is taken over, row by row, with its ids and times. `oui-backend import`."""
