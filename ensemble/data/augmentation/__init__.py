"""Augmentations of images and masks, written as a sum of steps."""
