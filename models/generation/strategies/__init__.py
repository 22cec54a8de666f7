"""How music is drawn from a system that does not simply write one frame after the other."""
