FROM full
