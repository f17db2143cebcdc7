# bash completion for hometun and hometun-server. What can be said is what --help says, asked once a session, so it is
# never out of date.

_hometun_help() {
  local key="${1##*/} $2"
  declare -gA _hometun_cache
  if [[ -z ${_hometun_cache[$key]-} ]]; then
    # shellcheck disable=SC2086 # "home add" is two words
    _hometun_cache[$key]=$("$1" ${2-} --help 2>/dev/null)
  fi
  printf '%s\n' "${_hometun_cache[$key]}"
}

# The first word of each line of a section, and for options all their spellings.
_hometun_section() {
  awk -v section="$1:" '
    /^[A-Z][a-z]*:$/ { inside = ($0 == section); next }
    inside && /^  [^ ]/ {
      for (field = 1; field <= NF && $field ~ /^[-a-z]/; field++) {
        sub(/,$/, "", $field)
        if (section == "Options:" ? $field ~ /^-/ : field == 1) print $field
        if (section == "Options:" && $field !~ /^-/) break
      }
    }'
}

_hometun() {
  local program=$1 current=$2 previous=$3 command= word
  COMPREPLY=()
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    if [[ $word != -* ]]; then command=$word; break; fi
  done
  if [[ " ${COMP_WORDS[*]:1:COMP_CWORD-1} " =~ ' home '(add|line|remove)' ' && $command == home ]]; then
    command="home ${BASH_REMATCH[1]}"
  fi
  case $previous in
    -c | --config | --socket | --psk-file) mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
    -o | --output)
      local kind=-f
      if [[ $command == keygen ]]; then kind=-d; fi
      mapfile -t COMPREPLY < <(compgen "$kind" -- "$current")
      return
      ;;
    --key) mapfile -t COMPREPLY < <(compgen -W "ed25519 psk" -- "$current"); return ;;
    --lan)
      mapfile -t COMPREPLY < <(cd /sys/class/net && compgen -G "$current*")
      return
      ;;
    --encapsulation) mapfile -t COMPREPLY < <(compgen -W "udp esp" -- "$current"); return ;;
    --sort) mapfile -t COMPREPLY < <(compgen -W "move name state traffic" -- "$current"); return ;;
    --state)
      mapfile -t COMPREPLY < <(compgen -W "confirmed unconfirmed held never-heard" -- "$current")
      return
      ;;
    --suite)
      local suites
      suites=$(_hometun_help "$program" keygen | awk '
        /--suite/ { inside = 1 } inside { print } inside && /default/ { exit }' |
        grep -o 'aes-[a-z0-9-]*' | sort -u)
      mapfile -t COMPREPLY < <(compgen -W "$suites" -- "$current")
      return
      ;;
  esac
  local section=Options
  if [[ ($command == "" || $command == home) && $current != -* ]]; then section=Commands; fi
  local words
  words=$(_hometun_help "$program" "$command" | _hometun_section "$section")
  if [[ $current != -* && ${program##*/} == hometun-server && $command =~ ^(status|home line|home remove)$ ]]; then
    words=$("$program" status --all --sort name 2>/dev/null | awk 'seen { print $1 } $1 == "HOME" { seen = 1 }')
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -F _hometun hometun hometun-server
