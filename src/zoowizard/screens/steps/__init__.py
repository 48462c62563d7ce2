"""The five steps of the wizard, each a widget that shows a `Situation` and says what the person did."""
