"""The Textual app: the board, and the wizard with its five steps. Heavy work is done by other processes."""
