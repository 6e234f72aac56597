"""The ablation of the paper, measured in the shapes world: rows of trained models, judged by the world's oracle."""
