"""The engine under ``model.generate``: three ways in, the prepared call, its processors as stages, the step models.

Every mode of generation is a file of ``modes``.
"""
