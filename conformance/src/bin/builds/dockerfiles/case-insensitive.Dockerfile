from tiny
env a=1
Run echo x >/x
cMD ["y"]
