FROM tiny
HEALTHCHECK --interval=1m30s --timeout=2s --start-period=500ms --retries=7 CMD curl -f http://localhost/ || exit 1
