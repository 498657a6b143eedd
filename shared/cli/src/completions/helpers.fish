# The flag --home as it was typed.
function __bk_home
    set -l words (commandline -opc)
    for at in (seq 2 (count $words))
        set -l dir
        switch $words[$at]
            case --home
                set dir $words[(math $at + 1)]
            case '--home=*'
                set dir (string replace -- --home= '' $words[$at])
        end
        test -n "$dir"; and printf '%s\n' --home (string replace -r '^~/' "$HOME/" -- $dir)
    end
end
