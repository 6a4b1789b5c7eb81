"""From fitted models to estimates of stands and projects with standard errors that hold."""
