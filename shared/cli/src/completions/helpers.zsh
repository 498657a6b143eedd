# The flag --home as it was typed, without its quotes; nothing of it is expanded but a leading ~/.
_bk_home() {
    local i dir
    bk_home=()
    for ((i = 2; i < CURRENT; i++)); do
        case $words[i] in
            --home) dir=${(Q)words[i+1]} ;;
            --home=*) dir=${(Q)${words[i]#--home=}} ;;
            *) continue ;;
        esac
        [[ $dir = '~/'* ]] && dir=$HOME/${dir#'~/'}
        bk_home=(--home $dir)
    done
}

# Offers what stands on the lines of standard input; compadd quotes it.
_bk_offer_lines() {
    local -a lines
    lines=("${(@f)$(cat)}")
    lines=("${(@)lines:#}")
    compadd "$@" -a lines
}
