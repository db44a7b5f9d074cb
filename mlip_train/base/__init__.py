"""What knows no atoms: frozen models, atomic files, strict YAML, paths, parallel work."""
