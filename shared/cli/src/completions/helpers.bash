# Splits a command line into bk_words as the shell does, but expands nothing of it; the last one is
# what is being typed, and bk_open the quote that is open in it.
_bk_split() {
    local line=$1 word='' begun='' c i
    bk_words=() bk_open=''
    for ((i = 0; i < ${#line}; i++)); do
        c=${line:i:1}
        if [[ $bk_open = "'" && $c != "'" ]]; then
            word+=$c
        elif [[ $bk_open && $c = "$bk_open" ]]; then
            bk_open=''
        elif [[ $bk_open && $c = \\ && ${line:i+1:1} = [\\\"\$\`] ]] || [[ ! $bk_open && $c = \\ ]]; then
            i=$((i + 1)) word+=${line:i:1} begun=1
        elif [[ ! $bk_open && $c = [\'\"] ]]; then
            bk_open=$c begun=1
        elif [[ ! $bk_open && $c = [[:blank:]] ]]; then
            [[ $begun ]] && bk_words+=("$word")
            word='' begun=''
        else
            word+=$c begun=1
        fi
    done
    bk_words+=("$word")
}

# What is being typed: bk_cur as the program will see it, of which bk_kept stands before the text
# that readline replaces, in the quotes of bk_quote. bk_prev is the flag whose value it may be,
# bk_flag what of bk_cur names that flag.
_bk_begin() {
    local IFS=' ' line=${COMP_LINE-} replaced=${1-${COMP_WORDS[COMP_CWORD]}} word
    COMPREPLY=() bk_flag='' bk_after='' bk_home=()
    if [[ $line ]]; then
        line=${line:0:COMP_POINT}
    else
        line=${COMP_WORDS[*]:0:COMP_CWORD+1} line=${line// = /=}
    fi
    _bk_split "${line%"$replaced"}"
    bk_kept=${bk_words[-1]} bk_quote=$bk_open
    _bk_split "$line"
    bk_cur=${bk_words[-1]} bk_prev=${bk_words[-2]-}
    unset 'bk_words[-1]'
    for word in "${bk_words[@]}"; do
        [[ $word != --home=* ]] || bk_home=(--home "${word#*=}")
        [[ ${bk_home-} != next ]] || bk_home=(--home "$word")
        [[ $word != --home ]] || bk_home=(next)
        [[ $word != -- ]] || bk_after=1
    done
    [[ ${bk_home-} != next ]] || bk_home=()
    [[ ${bk_home[1]-} != '~/'* ]] || bk_home[1]=$HOME/${bk_home[1]#'~/'}
    if [[ $bk_after ]]; then
        bk_prev=''
    elif [[ $bk_cur = --*=* ]]; then
        bk_prev=${bk_cur%%=*} bk_flag=$bk_prev=
    fi
}

# Offers those words that begin so, written so that the shell takes them as they are.
_bk_offer() {
    local word
    for word; do
        [[ $word = "$bk_cur"* ]] || continue
        word=${word:${#bk_kept}}
        if [[ $bk_quote = "'" ]]; then
            word=${word//\'/\'\\\'\'}
        elif [[ $bk_quote ]]; then
            word=${word//\\/\\\\} word=${word//\"/\\\"} word=${word//\$/\\\$} word=${word//\`/\\\`}
            word=${word//\!/\"\\\!\"}
        elif [[ $word ]]; then
            printf -v word %q "$word"
        fi
        COMPREPLY+=("$word")
    done
}

# Offers what stands on the lines of standard input.
_bk_offer_lines() {
    local lines
    mapfile -t lines
    _bk_offer "${lines[@]/#/$bk_flag}"
}

# readline completes the path, and quotes it.
_bk_paths() {
    compopt -o "$1" 2>/dev/null
}

# Offers directories, or leaves it to readline where it may have to expand something.
_bk_directories_too() {
    local found=()
    [[ $bk_cur = '~'* ]] || mapfile -t found < <(compgen -d -- "$bk_cur")
    _bk_offer "${found[@]/%//}"
    if [[ ${#COMPREPLY[@]} = 0 ]]; then
        _bk_paths dirnames
    elif [[ ${#COMPREPLY[@]} = 1 && $COMPREPLY = */ ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
