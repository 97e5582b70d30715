"""How the everyday model was made: run by hand, never imported by what ships."""
