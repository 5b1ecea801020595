"""Programs for a card or board that is there, or for what one answered once."""
