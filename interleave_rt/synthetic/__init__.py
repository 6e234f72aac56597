"""Published models at their full size with random weights: what a card takes for them, part by part and in the loop.

Shapes are those of the published configurations (`configs`); nothing is downloaded, and what such a model says or draws
is noise: verdicts and plans are written to a script, while every token is really decoded and every pixel really made.
"""
