"""The measurements, one file each: engines in, figures out."""
