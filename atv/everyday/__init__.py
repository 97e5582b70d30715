"""The everyday model: two pretrained halves that answer questions about pictures of everyday things."""
