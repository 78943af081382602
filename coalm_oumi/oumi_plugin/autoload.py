"""Makes plain `oumi` commands find this package: importing this module points Oumi at it.

Oumi has no entry points. The wheel's `coalm_oumi_autoload.pth` is one line that Python runs at
each start. It waits for `import oumi`, and then imports this module. Until then it opens no file,
so a program that never imports Oumi is not affected.
"""

from coalm_oumi.oumi_plugin.extra_deps import point_oumi_at_plugin

point_oumi_at_plugin()
