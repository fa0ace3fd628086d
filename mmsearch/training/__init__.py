"""How the built-in model is made and measured: captioned photos go in, exported towers and figures come out."""
