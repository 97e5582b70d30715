"""The everyday model: a pretrained language model and vision tower that answer questions about everyday things.

The package assembles the model, generates its pictures and questions, and trains it. Data sets from elsewhere do not
belong here.
"""
