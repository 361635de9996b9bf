-- The schema registry's own database, made once with the volume.
CREATE DATABASE registry;
