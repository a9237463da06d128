FROM full
LABEL flavour=other
LABEL "made.by"=me new=one
