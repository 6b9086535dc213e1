"""The trainer: a Celery worker without torch, and the training program that it starts as a child."""
