"""Where bytes live: tables, the prediction log, control state, and the files beneath them."""
