"""What people, files and the relay may write into any field: it must stay text wherever it is shown."""

# Short, because some fields hold thirty characters more than this. `tests.browser.visitor` notices when it runs
# (`__executed`), or when it becomes an element.
HOSTILE = "'\"><img data-hostil src=x onerror=__executed=1>"
SCRIPT = "</script></textarea><script data-hostil>__executed=1</script>"
# A spreadsheet would compute these.
FORMULAS = ("=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1+1", "\r=1+1")
