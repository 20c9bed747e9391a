"""The web console: pages for an operator, as files that run in the browser and ask the control API.

There is nothing to build and nothing from elsewhere: `console.js` is where it begins, the other scripts are modules of
one idea each. `server/apis/console.py` gives the files out.
"""
