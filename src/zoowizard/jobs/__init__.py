"""Heavy work in processes of its own, each job a folder that tells the truth about it."""
