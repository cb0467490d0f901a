"""From a model's recipe to a library's artifact: three kinds of job, each in its environment."""
