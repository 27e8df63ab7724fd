"""Templates: a colony.toml that names one is written over it.

    [colony]
    name = "my-app"
    template = "web-app"          # ~/.colony/templates/web-app/colony.toml, or one of ours

    [services.web]
    port = 3000                   # the rest of `web` is as the template says

A template may name another, over which it is written in turn. One that names itself, as the
documents' do, says its own name. `merge` has the rules, `library` finds and reads the files.
"""

from colony.templates.library import Library, NoTemplate, Template, default_library
from colony.templates.merge import merged

__all__ = ["Library", "NoTemplate", "Template", "default_library", "merged"]
