"""Running Tidemill on one machine: the supervisor and its services, health, ports, logs, doctor, keys and demo."""
