"""The lake over HTTP: routes, who may ask them, and how answers and errors look there."""
