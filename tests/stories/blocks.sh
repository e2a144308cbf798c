# The blocks of the documentation: a story reads them out of README.md and the pages of deploy/samples and types them in.
# shellcheck shell=bash disable=SC2154

section() { # HEADING
	awk -v heading="### $1" '/^##/ { inside = ($0 == heading) } inside' "$top/README.md" "$top"/deploy/samples/{by-hand,README}.md
}
# The blocks of a section, of lines indented by four and more, are counted from 1.  `path` is the file that the text in
# front of a block names last.
block() { # HEADING NUMBER
	section "$1" | awk -v wanted="$2" '
		/^    / && !inside { inside = 1; number++; match($0, /^ +/); indent = RLENGTH }
		/^ ? ? ?[^ ]/ { inside = 0 }
		inside && number == wanted { print substr($0, indent + 1) }'
}
path() { # HEADING NUMBER
	section "$1" | awk -v wanted="$2" '
		/^    / && !inside { inside = 1; if (++number == wanted) print path }
		/^ ? ? ?[^ ]/ { inside = 0 }
		!inside && match($0, /`\/etc\/[^`]*`/) { path = substr($0, RSTART + 1, RLENGTH - 2) }'
}
fill() { # VALUE…       the first "…" of standard input becomes the first value, and so on
	local text value
	text=$(cat)
	for value; do text=${text/…/"$value"}; done
	[[ $text && $text != *…* ]] && printf '%s\n' "$text"
}
