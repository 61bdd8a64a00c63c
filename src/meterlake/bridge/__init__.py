"""From MQTT to a server: topics and payloads become readings, and are acknowledged once the server has them."""
